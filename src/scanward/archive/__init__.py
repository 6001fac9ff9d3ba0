"""An archive judged in a night: its listing, its answers, and what is told of them."""
