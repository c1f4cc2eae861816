"""What every room stands on: locks, forks, workers, figures, readings and their codec."""
