"""What pages that people open in a browser share: cards, reports, comparisons, reviews, the page of a server."""
