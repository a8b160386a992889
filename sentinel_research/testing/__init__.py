"""What other projects test their adapters with; pytest loads `plugin` where this is installed."""
