"""What prodfix costs: ratios within one run, never milliseconds of one machine."""
