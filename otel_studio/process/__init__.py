"""The process and the machine around it, as one reading."""
