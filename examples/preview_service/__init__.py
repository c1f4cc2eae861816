"""A media preview service: clips come in, short previews of them go out."""
