"""GPUs: what is read of the cards, as one reading."""
