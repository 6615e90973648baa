"""What the API takes and answers that more than one path has; what one path alone has stands beside it."""
