/** A component. */
@Component({
  selector: 'x',
  template: `
    <a/>
  `,
})
export class Widget<T> extends Base<T> implements OnInit {
  /** An input. */
  @Input() name: string;

  /** Makes one. */
  constructor(private readonly a: A, @Inject(B) b: B) { super(); }

  /** Decorated method. */
  @HostListener('click', ['$event'])
  @Log()
  onClick(event: Event): void {
    this.a.go(event);
  }

  @Get()
  /** Between decorators. */
  @Log()
  between() { return 1; }

  /** On one line. */
  @Log() inline() { return 1; }

  /** A field with a function. */
  private readonly handle = (x: number): number => x + 1;

  /** Overloaded. */
  over(a: string): void;
  over(a: any) { return a; }

  /** Reads. */
  get size(): number { return 1; }

  /** Static. */
  public static async create<U>(): Promise<U> { return new Widget(); }

  /** An index. */
  [key: string]: any;

  /** Private. */
  #secret?(): void { go(); }
}

/** Abstract. */
export abstract class Shape {
  /** The area. */
  abstract area(): number;
  /** Written. */
  protected describe(): string { return `${this.area()}`; }
}

/** In a variable. */
export const Klass = class { go() { return 1; } };
