/*!
    \class Window
    \brief The Window class shows things.
*/

/*!
    Makes a window with \a parent.

    \sa show()
*/
Window::Window(QWidget *parent) : QWidget(parent)
{
    show();
}

//! Shows it.
//! At once.
void Window::show() { QWidget::show(); }
