"""Figures about the process and the machine: memory, processor, garbage collector, GPU."""
