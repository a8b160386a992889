"""One script of `evaluate` a metric; `sentinel_research.metrics.load_metric` loads them."""
