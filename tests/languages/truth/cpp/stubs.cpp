/// Empty.
void empty() {}

/// Only a comment.
void comment() { /* nothing */ }

/// An empty class.
class Empty {};

/// A tag.
struct Tag {
};

/// Defaulted outside.
Stack::Stack() = default;

/// Deleted.
void deleted(int) = delete;

/// A body.
void body() { ; }
