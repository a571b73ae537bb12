-- Options.
set serveroutput on size unlimited
whenever sqlerror exit failure
@@install.sql

-- A package.
create or replace package demo is
  -- Within it.
  procedure one;
end;
/

-- A query.
select 'set' from dual;

prompt It's done.
-- The end.
exit
