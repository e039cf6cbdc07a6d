"""The commands. They load 160,000 objects, through which Python would look again and again meanwhile."""

from sagakit import garbage

garbage.seldom()
