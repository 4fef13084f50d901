"""Is it only a temperature? By token, by text, by curves, and with the mode removed."""
