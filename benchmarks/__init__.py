"""The same work done by labfleet and by what a person would use instead; ratios of one run, side by side."""
