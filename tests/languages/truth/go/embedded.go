package embedded

// Server serves.
type Server struct {
	*Base
	sync.Mutex
	handler func(w Writer) error `json:"-"`
}

// Iface has constraints.
type Iface interface {
	~int | ~string
	fmt.Stringer
}

var handlers = map[string]func(){
	// a is a handler.
	"a": func() { go1() },
}

// Handler is a variable.
var Handler = func(x int) int { return x }

const (
	// A is a constant.
	A = iota
)
