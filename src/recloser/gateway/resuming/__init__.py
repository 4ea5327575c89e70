"""An answer that broke off after some of it was sent, and how another target finishes it."""
