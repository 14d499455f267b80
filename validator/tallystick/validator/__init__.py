"""The validator: verifies again, logs, reconciles, and signs what it found."""
