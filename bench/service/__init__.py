"""What observing costs a service as a whole: the same service under each subject, and under none."""
