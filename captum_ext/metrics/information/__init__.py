"""Information curves: protocols, one pass over frames, AIC and SIC."""
