"""Which examples are evaluated: read, screened, and those of an earlier start met again."""
