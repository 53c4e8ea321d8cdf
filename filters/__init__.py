"""Filters, one file each: every one says of every preference whether it may be published, and why not."""
