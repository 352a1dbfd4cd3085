"""What people do, how many of them there are, and what the target owes them."""
