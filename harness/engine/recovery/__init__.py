"""Means for a run to go on: batches in parts where memory runs out, its state where it is interrupted."""
