"""How good label maps are: data sets, the published protocol, metrics, reports."""
