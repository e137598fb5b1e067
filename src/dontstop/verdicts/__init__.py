"""From records to scores, differences, claims and costs."""
