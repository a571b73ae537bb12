<?php

class Controller
{
    /** Under an attribute. */
    #[Route('/home', name: 'home')]
    #[IsGranted('ROLE_USER')]
    public function home(#[MapQuery] int $page = 1): Response
    {
        return $this->render($page);
    }

    #[Pure]
    /** After an attribute. */
    public function late(): int { return 1; }
}
