"""People's judgement of answers: what is asked, the page that asks it, the ratings, and what they say."""
