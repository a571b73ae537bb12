-- Gets them.
CREATE PROCEDURE [dbo].[GetAll] @id INT = 1
AS
BEGIN
  SET NOCOUNT ON;
  SELECT * FROM #temporary WHERE id = @id;
END
GO

-- Without a block.
CREATE PROC two
AS
  SELECT 1;
  SELECT 2;
GO

-- After it.
SELECT 3
GO
