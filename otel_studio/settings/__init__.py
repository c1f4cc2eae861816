"""Settings: their table, their kinds, and where they are loaded from."""
