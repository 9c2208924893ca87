"""A page that reveals or hides the strongest pixels of maps, with the scores that were read."""

from captum_ext.viz.player.page import Played, write_player

__all__ = ["Played", "write_player"]
