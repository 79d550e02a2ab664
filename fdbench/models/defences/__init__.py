"""Input preprocessing as part of the network under attack."""
