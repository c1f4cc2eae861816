"""What a service pays as a whole: the same one under each subject, and under none."""
