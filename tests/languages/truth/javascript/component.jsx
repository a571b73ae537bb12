/** Greets. */
export const Greeting = ({ name }) => (
  <div className="a">
    {/* a comment in markup */}
    Hello {name} // no comment
  </div>
);

/** A list. */
function List({ items }) {
  return <ul>{items.map((item) => <li key={item}>{item}</li>)}</ul>;
}
