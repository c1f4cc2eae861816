"""The registry: every span folded into exact statistics per service and operation."""
