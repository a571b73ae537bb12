package types

// Point is a point.
type Point struct {
	X int // its x
	// Y is its y.
	Y int
}

// Move moves it.
func (p *Point) Move(dx int) {
	p.X += dx
}

type (
	// Shape is an interface.
	Shape interface {
		// Area is its area.
		Area() float64
	}

	// ID names something.
	ID string // trailing
)

// Alias is another name.
type Alias = Point

// List is generic.
type List[T any] struct {
	next *List[T]
}

// Push is of a generic type.
func (l *List[T]) Push(v T) { l.next = nil }

// Func is a type of functions.
type Func func(a int) error

// Empty has no fields.
type Empty struct{}
