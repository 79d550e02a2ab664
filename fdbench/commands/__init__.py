"""The commands: each turns flags into specs and makes one call. Torch is imported in the bodies."""
