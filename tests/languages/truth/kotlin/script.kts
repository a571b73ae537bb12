/** Configures. */
fun Project.configure(name: String) {
    println(name)
}

configure("x")
