"""One script per table or figure, from run directories; they import ivg, nothing imports them."""
