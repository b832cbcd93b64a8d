"""A stand-in for calicoctl, held to recordings of the original. One part each in a file."""

# What it plays; the build writes the asked-for release here.
RELEASE = "1.6.3"
