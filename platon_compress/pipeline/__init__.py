"""The stages on a run folder: what is done stays done, a killed run goes on where it stopped."""
