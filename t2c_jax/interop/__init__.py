"""Models in others' formats: in from Hugging Face, out to Hugging Face and CTranslate2."""
