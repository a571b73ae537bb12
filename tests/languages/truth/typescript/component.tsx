/** Greets. */
export const Greeting: React.FC<Props> = ({ name }) => (
  <div>{name /* a comment */}</div>
);

/** Generic. */
function List<T,>(props: Props<T>) {
  return <ul>{props.items.map(item => <li>{item}</li>)}</ul>;
}

/** Memoised. */
export const Memo = React.memo(function Memo() { return <a />; });
