# No code yet.
