"""The pruner's state: as plain data, as files, and beside a Trainer's checkpoints."""
