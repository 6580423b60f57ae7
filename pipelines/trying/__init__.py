"""Single pairs from the keyboard, beside sentences that are known already."""
