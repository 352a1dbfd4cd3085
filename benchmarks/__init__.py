"""What the reference server costs: measured, beside a yardstick, in one run."""
