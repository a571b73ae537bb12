/** Above an import. */
import { a } from 'a';

export const routes = [
  {
    path: '/',
    /** In a list. */
    handler: async (req: Request) => { await req; },
  },
];

export default {
  /** Of the default. */
  setup(props: Props) { return props; },
};

/** Two at once. */
const x = () => 1, y = () => 2;

/* No documentation. */
function none() { return 1; }

/// Three slashes are ordinary.
function slashes() { return 1; }

/** Above a pragma. */
// @ts-ignore
export function ignored() { return 1; }

/** Assigned to a member. */
this.run = async () => { await 1; };
