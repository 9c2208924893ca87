"""A page that reveals or hides the strongest pixels of maps, with the scores that were read."""

from captum_ext.viz.player.held import Played
from captum_ext.viz.player.page import write_player

__all__ = ["Played", "write_player"]
