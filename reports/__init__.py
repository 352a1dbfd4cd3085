"""What a run leaves on disk: the one place where the generator and the analysis meet."""
